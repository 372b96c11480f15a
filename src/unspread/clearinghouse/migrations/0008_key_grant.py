import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('clearinghouse', '0007_upheld'),
    ]

    operations = [
        migrations.AddField(
            model_name='proposal',
            name='terms',
            field=models.CharField(db_default='', max_length=1000),
        ),
        migrations.CreateModel(
            name='KeyGrant',
            fields=[
                (
                    'code_digest',
                    models.BinaryField(max_length=32, primary_key=True, serialize=False),
                ),
                ('scope', models.CharField(max_length=200)),
                ('replaces', models.CharField(default='', max_length=24)),
                ('expires_at', models.BigIntegerField()),
                (
                    'partner',
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to='clearinghouse.partner'
                    ),
                ),
            ],
            options={
                'db_table': 'key_grant',
            },
        ),
    ]
